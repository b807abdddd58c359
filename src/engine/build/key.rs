//! What tells one step from another: a hash of all that decides what it makes.

use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;

/// Changed when the same key would mean something else.
const VERSION: &str = "ketch build step 1";

/// A key that is being put together.
#[derive(Clone, Debug)]
pub(super) struct Key(Sha256);

impl Key {
    pub(super) fn new(kind: &str) -> Self {
        let mut key = Self(Sha256::new());
        key.field("version", VERSION);
        key.field("kind", kind);
        key
    }

    /// Adds a value. Lengths keep what follows one another apart.
    pub(super) fn field(&mut self, name: &str, value: impl AsRef<[u8]>) {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    /// Adds values, and how many they are.
    pub(super) fn list<T: AsRef<[u8]>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        let mut count = 0_u64;
        for value in values {
            self.field(name, value);
            count += 1;
        }
        self.field(name, count.to_le_bytes());
    }

    pub(super) fn finish(self) -> Digest {
        Digest::from_hash(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_count() {
        let key = |parts: &[&[&str]]| {
            let mut key = Key::new("x");
            parts.iter().for_each(|list| key.list("l", *list));
            key.finish()
        };
        assert_eq!(key(&[&["a", "b"]]), key(&[&["a", "b"]]));
        assert_ne!(key(&[&["a", "b"]]), key(&[&["ab"]]));
        assert_ne!(key(&[&["a"], &["b"]]), key(&[&["a", "b"], &[]]));
    }
}
