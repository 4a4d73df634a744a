//! What programs may rely on in `--json` outputs. The schemas beside this file are JSON Schema, of which this reads: `type`
//! (a name or several), `properties` (all of them required, no others allowed, unless `optional` lists them), `items`,
//! `enum`, `anyOf`.
use cryptfs::codec::{Json, parse_json};

/// Panics, naming the place, where `value` is not as `tests/schema/<name>.json` says.
pub fn check(name: &str, value: &Json) {
    let path = format!("{}/tests/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let schema = parse_json(&text).expect(&path);
    if let Err(wrong) = judge(&schema, value, "$") {
        panic!("{name}: {wrong}\nin {value:#}");
    }
}

fn judge(schema: &Json, value: &Json, place: &str) -> Result<(), String> {
    if let Some(choices) = schema["anyOf"].as_array() {
        let wrong: Vec<_> = choices
            .iter()
            .filter_map(|choice| judge(choice, value, place).err())
            .collect();
        return match wrong.len() == choices.len() {
            true => Err(wrong.join("; ")),
            false => Ok(()),
        };
    }
    if let Some(allowed) = schema["enum"].as_array() {
        return match allowed.contains(value) {
            true => Ok(()),
            false => Err(format!("{place} is {value}")),
        };
    }
    let kinds = match &schema["type"] {
        Json::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    if !kinds
        .iter()
        .any(|kind| kind.as_str() == Some(kind_of(value)))
    {
        return Err(format!("{place} is {}, not {kinds:?}", kind_of(value)));
    }
    match value {
        Json::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(i, item)| judge(&schema["items"], item, &format!("{place}[{i}]"))),
        Json::Object(_) => judge_fields(schema, value, place),
        _ => Ok(()),
    }
}

fn judge_fields(schema: &Json, value: &Json, place: &str) -> Result<(), String> {
    let Some(fields) = value.as_object() else {
        return Ok(());
    };
    let known = schema["properties"]
        .as_object()
        .ok_or(format!("{place}: no properties"))?;
    let optional = |name: &String| {
        let listed = schema["optional"].as_array();
        listed.is_some_and(|names| names.iter().any(|n| n == name))
    };
    for name in known.keys().filter(|name| !optional(name)) {
        if !fields.contains_key(name) {
            return Err(format!("{place}.{name} is missing"));
        }
    }
    for (name, value) in fields {
        let schema = known.get(name).ok_or(format!("{place}.{name} is new"))?;
        judge(schema, value, &format!("{place}.{name}"))?;
    }
    Ok(())
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}
