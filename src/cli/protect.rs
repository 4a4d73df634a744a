//! `--protect FORM`: how the keystore keeps a keyfile.
use crate::volume::keystore::Protection;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Takes the name of a form.
pub fn parser() -> impl TypedValueParser<Value = Protection> {
    let named = |form: Protection| PossibleValue::new(form.name()).help(form.explained());
    PossibleValuesParser::new(Protection::ALL.map(named)).map(|name| {
        let named = |form: &Protection| form.name() == name;
        Protection::ALL
            .into_iter()
            .find(named)
            .unwrap_or(Protection::File)
    })
}
