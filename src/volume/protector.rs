//! Key protectors: each slot of the header lets one credential open the volume.
use super::date::{self, Seconds};
use super::keys::Uuid;
use super::layout::{Field, covers, field, is_plain};
use super::recovery_password::RecoveryPassword;
use super::vmk::Vmk;
use super::{header::HeaderError, uuid};
use crate::crypto::kdf::{CostOutOfBounds, Label, Prk, Stretch};
use crate::crypto::secret::Secret;
use crate::crypto::{digest, random, wrap};

/// Bytes of a slot in the header.
pub const SLOT_SIZE: usize = 1024;
/// Bytes of a slot that are part of its key derivation (state and flags as zero).
const PUBLIC: usize = 32;
/// How the description of a replacement begins; the ID of what it replaces follows.
pub(crate) const REPLACES: &str = "replaces ";
/// Longest description, bytes.
pub const DESCRIPTION: usize = 64;

const TYPE: Field = field(0, 1);
const KDF: Field = field(1, 1);
const STATE: Field = field(2, 1);
const FLAGS: Field = field(3, 1);
const COST1: Field = field(4, 4);
const COST2: Field = field(8, 4);
const COST3: Field = field(12, 4);
const ID: Field = field(16, 16);
const SALT: Field = field(32, 32);
const WRAPPED: Field = field(64, 40);
const ESCROW: Field = field(104, 24);
const CREATED: Field = field(128, 8);
const EXPORTED: Field = field(136, 8);
const VERIFIED: Field = field(144, 8);
const RESERVED1: Field = field(152, 8);
const HOST: Field = field(160, 16);
const TEXT: Field = field(176, DESCRIPTION);
const RESERVED2: Field = field(240, 784);
const _: () = assert!(covers(
    &[
        TYPE, KDF, STATE, FLAGS, COST1, COST2, COST3, ID, SALT, WRAPPED, ESCROW, CREATED, EXPORTED,
        VERIFIED, RESERVED1, HOST, TEXT, RESERVED2
    ],
    SLOT_SIZE
));
const _: () = assert!(SALT.start() == PUBLIC);

const HAS_ESCROW: u8 = 1;

/// What kind of credential opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectorKind {
    /// 32 random bytes kept by the keystore: unlocks without anyone typing.
    Keyfile,
    /// The 48 digits that an administrator keeps elsewhere.
    RecoveryPassword,
    /// Something that a person remembers.
    Passphrase,
}

/// Where a protector stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtectorState {
    /// In use.
    Active,
    /// Made by a rotation, not yet handed over.
    Pending,
    /// Handed over, not yet proven to open the volume.
    Delivered,
    /// Used or disclosed: should be replaced.
    RotateDue,
}

/// One key protector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protector {
    /// What opens it.
    pub kind: ProtectorKind,
    /// Where it stands in its life.
    pub state: ProtectorState,
    /// How the credential is stretched.
    pub stretch: Stretch,
    /// Its UUID; a recovery password's is its password ID.
    pub id: Uuid,
    /// When it was made.
    pub created: Seconds,
    /// When it was last disclosed or printed; 0: never.
    pub exported: Seconds,
    /// When it was last proven to open the volume; 0: never.
    pub verified: Seconds,
    /// Of a keyfile: which keystore on which computer (a hash); zeros: none.
    pub host: [u8; 16],
    /// The computer's name, or a remark.
    pub description: String,
    salt: [u8; 32],
    wrapped: [u8; 40],
    escrow: Option<[u8; 24]>,
}

/// What a person or the keystore has in hand.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A keyfile's 32 bytes and the slot that it says it opens.
    Keyfile(&'a Secret<32>, &'a Uuid),
    /// 48 digits.
    Recovery(&'a RecoveryPassword),
    /// Any bytes.
    Passphrase(&'a [u8]),
}

impl Credential<'_> {
    /// What kind of slot it opens.
    pub fn kind(&self) -> ProtectorKind {
        match self {
            Self::Keyfile(..) => ProtectorKind::Keyfile,
            Self::Recovery(_) => ProtectorKind::RecoveryPassword,
            Self::Passphrase(_) => ProtectorKind::Passphrase,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Keyfile(key, _) => key.expose(),
            Self::Recovery(password) => password.bytes().expose(),
            Self::Passphrase(bytes) => bytes,
        }
    }

    /// True if it could open this slot at all.
    pub(crate) fn fits(&self, slot: &Protector) -> bool {
        slot.kind == self.kind() && !matches!(self, Self::Keyfile(_, id) if **id != slot.id)
    }
}

/// What a new protector is made of.
pub struct NewProtector<'a> {
    /// The credential that will open it. A keyfile's slot id becomes the protector's.
    pub credential: Credential<'a>,
    /// How it is stretched.
    pub stretch: Stretch,
    /// First state.
    pub state: ProtectorState,
    /// Keep the recovery password in the header, sealed under the VMK.
    pub escrow: bool,
    /// Which keystore on which computer.
    pub host: [u8; 16],
    /// The computer's name, or a remark.
    pub description: &'a str,
}

impl Protector {
    pub(crate) fn new(
        volume: &Uuid,
        vmk: &Vmk,
        from: &NewProtector<'_>,
    ) -> Result<Self, CostOutOfBounds> {
        let id = match from.credential {
            Credential::Keyfile(_, id) => *id,
            _ => uuid::random(),
        };
        let escrow = match from.credential {
            Credential::Recovery(password) if from.escrow => Some(vmk.seal_escrow(&id, password)),
            _ => None,
        };
        let description = from
            .description
            .chars()
            .filter(|c| is_plain(&c.to_string()));
        let mut slot = Self {
            kind: from.credential.kind(),
            state: from.state,
            stretch: from.stretch,
            id,
            created: date::now(),
            exported: 0,
            verified: 0,
            host: from.host,
            description: super::layout::fit(&description.collect::<String>(), DESCRIPTION)
                .to_owned(),
            salt: random::bytes(),
            wrapped: [0; 40],
            escrow,
        };
        slot.wrapped = vmk.wrapped(&slot.kek(volume, &from.credential)?);
        Ok(slot)
    }

    /// The VMK, if this credential opens this slot. What comes out is not trusted before the header's MAC was checked.
    pub(crate) fn open(&self, volume: &Uuid, credential: &Credential<'_>) -> Option<Vmk> {
        let kek = self.kek(volume, credential).ok()?;
        let key = wrap::unwrap32(&kek, &self.wrapped).ok()?;
        Some(Vmk::new(volume, key))
    }

    /// Tells slots apart whose key derivation or wrapped key differ.
    pub(crate) fn fingerprint(&self, volume: &Uuid) -> [u8; 32] {
        digest::sha256(&[volume, &self.public(), &self.salt, &self.wrapped])
    }

    /// The recovery password kept in escrow.
    pub(crate) fn escrowed(&self, vmk: &Vmk) -> Option<RecoveryPassword> {
        vmk.open_escrow(&self.id, self.escrow.as_ref()?).ok()
    }

    /// The protector that this one is going to replace, once it was proven to open the volume.
    pub fn replaces(&self) -> Option<Uuid> {
        let rest = self.description.strip_prefix(REPLACES)?;
        uuid::parse(rest.split_once(' ').map_or(rest, |(id, _)| id))
    }

    /// The description without the ID of what it is going to replace.
    pub fn remark(&self) -> &str {
        match self.replaces() {
            None => &self.description,
            Some(_) => self.description.splitn(3, ' ').nth(2).unwrap_or_default(),
        }
    }

    /// True if the recovery password is kept in the header, sealed under the VMK.
    pub fn has_escrow(&self) -> bool {
        self.escrow.is_some()
    }

    fn kek(
        &self,
        volume: &Uuid,
        credential: &Credential<'_>,
    ) -> Result<Secret<32>, CostOutOfBounds> {
        if !is_bounded(self.kind, &self.stretch) {
            return Err(CostOutOfBounds);
        }
        let stretched = self.stretch.run(credential.bytes(), &self.salt)?;
        let public = digest::sha256(&[&self.public()]);
        let prk = Prk::extract(&self.salt, stretched.expose());
        Ok(prk.expand(Label::Kek, &[volume, &public]))
    }

    /// What the KEK is bound to: a changed type or cost unwraps nothing. State and flags may change without a new KEK.
    fn public(&self) -> [u8; PUBLIC] {
        let mut out = [0; SLOT_SIZE];
        self.encode(&mut out);
        STATE.put(&mut out, &[0]);
        FLAGS.put(&mut out, &[0]);
        let mut public = [0; PUBLIC];
        public.copy_from_slice(&out[..PUBLIC]);
        public
    }

    pub(crate) fn encode(&self, out: &mut [u8; SLOT_SIZE]) {
        let (kdf, costs) = match self.stretch {
            Stretch::None => (0, [0; 3]),
            Stretch::Pbkdf2 { iterations } => (1, [iterations, 0, 0]),
            Stretch::Argon2id {
                passes,
                memory_kib,
                lanes,
            } => (2, [passes, memory_kib, lanes]),
        };
        out.fill(0);
        TYPE.put(out, &[kind_code(self.kind)]);
        KDF.put(out, &[kdf]);
        STATE.put(out, &[state_code(self.state)]);
        FLAGS.put(out, &[u8::from(self.escrow.is_some()) * HAS_ESCROW]);
        for (place, cost) in [COST1, COST2, COST3].into_iter().zip(costs) {
            place.put(out, &cost.to_le_bytes());
        }
        ID.put(out, &self.id);
        SALT.put(out, &self.salt);
        WRAPPED.put(out, &self.wrapped);
        ESCROW.put(out, &self.escrow.unwrap_or_default());
        CREATED.put(out, &self.created.to_le_bytes());
        EXPORTED.put(out, &self.exported.to_le_bytes());
        VERIFIED.put(out, &self.verified.to_le_bytes());
        HOST.put(out, &self.host);
        TEXT.put_text(out, &self.description);
    }

    /// An empty slot is all zeros.
    pub(crate) fn decode(bytes: &[u8; SLOT_SIZE]) -> Result<Option<Self>, HeaderError> {
        if bytes.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let kind = decode_kind(TYPE.u8(bytes))
            .ok_or_else(|| unknown("key protector type", TYPE.u8(bytes)))?;
        let state = decode_state(STATE.u8(bytes))
            .ok_or_else(|| unknown("key protector state", STATE.u8(bytes)))?;
        let flags = FLAGS.u8(bytes);
        if flags & !HAS_ESCROW != 0 {
            return Err(unknown("key protector flags", flags));
        }
        for reserved in [RESERVED1, RESERVED2] {
            if reserved.not_zero(bytes).is_some() {
                return Err(HeaderError::Reserved("key protector"));
            }
        }
        let escrow = ESCROW.array(bytes);
        if (flags & HAS_ESCROW == 0 || kind != ProtectorKind::RecoveryPassword) && escrow != [0; 24]
        {
            return Err(HeaderError::Reserved("escrow"));
        }
        Ok(Some(Self {
            kind,
            state,
            stretch: decode_stretch(kind, bytes)?,
            id: ID.array(bytes),
            created: CREATED.u64(bytes),
            exported: EXPORTED.u64(bytes),
            verified: VERIFIED.u64(bytes),
            host: HOST.array(bytes),
            description: TEXT.text(bytes).ok_or(HeaderError::Text("description"))?,
            salt: SALT.array(bytes),
            wrapped: WRAPPED.array(bytes),
            escrow: (flags & HAS_ESCROW != 0).then_some(escrow),
        }))
    }
}

/// Whether a slot's cost is one that its kind may have: eight times what new ones get, and no more, as it comes from a
/// header that nobody has authenticated yet. Twelve slots must not make an unlock take minutes or gigabytes.
fn is_bounded(kind: ProtectorKind, stretch: &Stretch) -> bool {
    match (kind, *stretch) {
        (ProtectorKind::Keyfile, stretch) => stretch == Stretch::None,
        (_, Stretch::None) => false,
        (_, Stretch::Pbkdf2 { iterations }) => iterations <= 1 << 23,
        // 128 random bits need no memory-hard function.
        (
            ProtectorKind::RecoveryPassword,
            Stretch::Argon2id {
                memory_kib, passes, ..
            },
        ) => memory_kib <= 64 << 10 && passes <= 4,
        (
            ProtectorKind::Passphrase,
            Stretch::Argon2id {
                memory_kib, passes, ..
            },
        ) => memory_kib <= 2 << 20 && u64::from(passes) * u64::from(memory_kib) <= 6 << 20,
    }
}

fn unknown(field: &'static str, value: u8) -> HeaderError {
    HeaderError::Unknown {
        field,
        value: value.into(),
    }
}

/// Only a keyfile's 32 random bytes may go unstretched. Costs are bounded by crypto before any work is done.
fn decode_stretch(kind: ProtectorKind, bytes: &[u8]) -> Result<Stretch, HeaderError> {
    let costs = [COST1.u32(bytes), COST2.u32(bytes), COST3.u32(bytes)];
    match (kind, KDF.u8(bytes), costs) {
        (ProtectorKind::Keyfile, 0, [0, 0, 0]) => Ok(Stretch::None),
        (ProtectorKind::Keyfile, kdf, _) => Err(unknown("key derivation of a keyfile", kdf)),
        (_, 1, [iterations, 0, 0]) => Ok(Stretch::Pbkdf2 { iterations }),
        (_, 2, [passes, memory_kib, lanes]) => Ok(Stretch::Argon2id {
            passes,
            memory_kib,
            lanes,
        }),
        (_, kdf, _) => Err(unknown("key derivation", kdf)),
    }
}

const fn kind_code(kind: ProtectorKind) -> u8 {
    match kind {
        ProtectorKind::Keyfile => 1,
        ProtectorKind::RecoveryPassword => 2,
        ProtectorKind::Passphrase => 3,
    }
}

const fn decode_kind(code: u8) -> Option<ProtectorKind> {
    Some(match code {
        1 => ProtectorKind::Keyfile,
        2 => ProtectorKind::RecoveryPassword,
        3 => ProtectorKind::Passphrase,
        _ => return None,
    })
}

const fn state_code(state: ProtectorState) -> u8 {
    match state {
        ProtectorState::Active => 1,
        ProtectorState::Pending => 2,
        ProtectorState::Delivered => 3,
        ProtectorState::RotateDue => 4,
    }
}

const fn decode_state(code: u8) -> Option<ProtectorState> {
    Some(match code {
        1 => ProtectorState::Active,
        2 => ProtectorState::Pending,
        3 => ProtectorState::Delivered,
        4 => ProtectorState::RotateDue,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
