//! Opens what cosign and skopeo have sealed with a passphrase: scrypt, then NaCl's secretbox.
//!
//! ```text
//! passphrase, salt ─scrypt─▶ key ─HSalsa20(nonce[..16])─▶ subkey ─Salsa20(nonce[16..])─▶ stream
//!                                                stream[..32]: key of Poly1305 │ stream[32..] ⊕ text
//! ```
//!
//! ring has neither Salsa20 nor a bare Poly1305, and this runs once for a key file that its owner chose:
//! a few lines that hold to the published vectors are less to carry than nine crates.
//!
//! # Source
//!
//! RFC 7914 (scrypt); Bernstein, "Salsa20 specification", "Extending the Salsa20 nonce", "Cryptography in
//! NaCl" (section 10 has the vectors); RFC 8439, section 2.5 (Poly1305).

use std::num::NonZeroU32;

use ring::pbkdf2;

/// Most memory that scrypt may take, in bytes: what cosign's parameters ask for, with room.
const MAX_MEMORY: u64 = 256 << 20;

/// Length of the tag before the text.
const TAG: usize = 16;

/// How a key follows from a passphrase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scrypt {
    pub(super) n: u64,
    pub(super) r: u64,
    pub(super) p: u64,
}

impl Scrypt {
    /// The key for a passphrase; `None` for parameters that are malformed or take too much memory.
    pub(super) fn key(self, passphrase: &[u8], salt: &[u8]) -> Option<[u8; 32]> {
        let one = NonZeroU32::MIN;
        let block = usize::try_from(self.r).ok()?.checked_mul(128)?;
        let fits = self.n.checked_mul(block as u64).is_some_and(|bytes| bytes <= MAX_MEMORY);
        let sane = self.n.is_power_of_two() && self.n > 1 && block > 0 && (1..=16).contains(&self.p);
        if !fits || !sane {
            return None;
        }
        let mut blocks = vec![0; block * usize::try_from(self.p).ok()?];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, one, salt, passphrase, &mut blocks);
        blocks.chunks_exact_mut(block).for_each(|block| mix(block, self.n));
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, one, &blocks, passphrase, &mut key);
        Some(key)
    }
}

/// scryptROMix.
fn mix(block: &mut [u8], n: u64) {
    let mut x: Vec<u32> = block.chunks_exact(4).map(word).collect();
    let length = x.len();
    let mut all: Vec<u32> = Vec::with_capacity(length * usize::try_from(n).unwrap_or(0));
    let mut spare = vec![0; length];
    for _ in 0..n {
        all.extend_from_slice(&x);
        mix_block(&mut x, &mut spare);
    }
    for _ in 0..n {
        let last = &x[length - 16..];
        let at = (u64::from(last[1]) << 32 | u64::from(last[0])) & (n - 1);
        let at = usize::try_from(at).unwrap_or(0) * length;
        x.iter_mut().zip(&all[at..at + length]).for_each(|(word, other)| *word ^= other);
        mix_block(&mut x, &mut spare);
    }
    for (bytes, word) in block.chunks_exact_mut(4).zip(&x) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

/// scryptBlockMix.
fn mix_block(x: &mut Vec<u32>, spare: &mut Vec<u32>) {
    let count = x.len() / 16;
    let mut last = [0; 16];
    last.copy_from_slice(&x[(count - 1) * 16..]);
    for at in 0..count {
        last.iter_mut().zip(&x[at * 16..]).for_each(|(word, other)| *word ^= other);
        let mixed = rounds(&last, 8);
        last.iter_mut().zip(mixed).for_each(|(word, mixed)| *word = word.wrapping_add(mixed));
        // Even ones first, odd ones behind them.
        let to = (at / 2 + (at % 2) * (count / 2)) * 16;
        spare[to..to + 16].copy_from_slice(&last);
    }
    std::mem::swap(x, spare);
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The rounds of Salsa20, without the addition that ends it.
fn rounds(input: &[u32; 16], count: usize) -> [u32; 16] {
    /// Columns, then rows: the four words of each quarter.
    const QUARTERS: [[usize; 4]; 8] = [
        [0, 4, 8, 12],
        [5, 9, 13, 1],
        [10, 14, 2, 6],
        [15, 3, 7, 11],
        [0, 1, 2, 3],
        [5, 6, 7, 4],
        [10, 11, 8, 9],
        [15, 12, 13, 14],
    ];
    let mut x = *input;
    for _ in 0..count / 2 {
        for [a, b, c, d] in QUARTERS {
            x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
            x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
            x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
            x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
        }
    }
    x
}

/// Salsa20's first state for a key and 16 further bytes (nonce and counter).
fn state(key: &[u8; 32], input: &[u8; 16]) -> [u32; 16] {
    const SIGMA: &[u8; 16] = b"expand 32-byte k";
    let mut state = [0; 16];
    for at in 0..4 {
        let four = |bytes: &[u8]| word(&bytes[at * 4..at * 4 + 4]);
        state[at * 5] = four(SIGMA);
        state[1 + at] = four(&key[..16]);
        state[6 + at] = four(input);
        state[11 + at] = four(&key[16..]);
    }
    state
}

/// HSalsa20.
fn subkey(key: &[u8; 32], nonce: &[u8; 16]) -> [u8; 32] {
    let mixed = rounds(&state(key, nonce), 20);
    let mut out = [0; 32];
    for (bytes, at) in out.chunks_exact_mut(4).zip([0, 5, 10, 15, 6, 7, 8, 9]) {
        bytes.copy_from_slice(&mixed[at].to_le_bytes());
    }
    out
}

/// So many bytes of Salsa20's stream.
fn stream(key: &[u8; 32], nonce: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 64);
    for counter in 0_u64.. {
        if out.len() >= length {
            break;
        }
        let mut input = [0; 16];
        input[..8].copy_from_slice(nonce);
        input[8..].copy_from_slice(&counter.to_le_bytes());
        let first = state(key, &input);
        for (mixed, word) in rounds(&first, 20).iter().zip(first) {
            out.extend_from_slice(&mixed.wrapping_add(word).to_le_bytes());
        }
    }
    out
}

/// Opens a secretbox: tag, then text. `None` if the key is wrong or the box was changed.
pub(super) fn open(key: &[u8; 32], nonce: &[u8; 24], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, text) = sealed.split_at_checked(TAG)?;
    let mut first = [0; 16];
    first.copy_from_slice(&nonce[..16]);
    let stream = stream(&subkey(key, &first), &nonce[16..], 32 + text.len());
    let (mac_key, pad) = stream.split_at(32);
    let differs = poly1305(mac_key, text).iter().zip(tag).fold(0, |all, (a, b)| all | (a ^ b));
    (differs == 0).then(|| text.iter().zip(pad).map(|(a, b)| a ^ b).collect())
}

/// Poly1305, with numbers of five limbs of 26 bits.
fn poly1305(key: &[u8], message: &[u8]) -> [u8; TAG] {
    const LIMB: u64 = (1 << 26) - 1;
    let mut clamped = [0; 17];
    clamped[..16].copy_from_slice(&key[..16]);
    for at in [3, 7, 11, 15] {
        clamped[at] &= 15;
    }
    for at in [4, 8, 12] {
        clamped[at] &= 252;
    }
    let r = limbs(&clamped);
    let mut h = [0_u64; 5];
    for chunk in message.chunks(16) {
        let mut block = [0; 17];
        block[..chunk.len()].copy_from_slice(chunk);
        block[chunk.len()] = 1;
        h.iter_mut().zip(limbs(&block)).for_each(|(h, limb)| *h += limb);
        let mut product = [0_u64; 5];
        for (i, h) in h.iter().enumerate() {
            for (j, r) in r.iter().enumerate() {
                // 2^130 is 5 modulo the prime.
                let folded = if i + j > 4 { 5 } else { 1 };
                product[(i + j) % 5] += h * r * folded;
            }
        }
        h = carried(product, LIMB);
    }
    h = carried(h, LIMB);
    // Subtracts the prime if that leaves a number: h + 5 overflows 130 bits.
    let mut less = h;
    less[0] += 5;
    for at in 0..4 {
        less[at + 1] += less[at] >> 26;
        less[at] &= LIMB;
    }
    if less[4] >> 26 > 0 {
        less[4] &= LIMB;
        h = less;
    }
    // What lies above 128 bits does not count.
    let number = h.iter().rev().fold(0, |low: u128, limb| low << 26 | u128::from(*limb));
    let mut pad = [0; 16];
    pad.copy_from_slice(&key[16..32]);
    number.wrapping_add(u128::from_le_bytes(pad)).to_le_bytes()
}

fn limbs(bytes: &[u8; 17]) -> [u64; 5] {
    let mut low = [0; 16];
    low.copy_from_slice(&bytes[..16]);
    let low = u128::from_le_bytes(low);
    let limb = |shift: u32| u64::try_from((low >> shift) & ((1 << 26) - 1)).unwrap_or(0);
    [limb(0), limb(26), limb(52), limb(78), limb(104) | u64::from(bytes[16]) << 24]
}

fn carried(mut h: [u64; 5], limb: u64) -> [u64; 5] {
    for _ in 0..2 {
        for at in 0..4 {
            h[at + 1] += h[at] >> 26;
            h[at] &= limb;
        }
        h[0] += (h[4] >> 26) * 5;
        h[4] &= limb;
    }
    h[1] += h[0] >> 26;
    h[0] &= limb;
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
    }

    #[test]
    fn scrypt_of_the_rfc() {
        // RFC 7914, section 12, cut to 32 bytes: PBKDF2's first block.
        for (passphrase, salt, n, r, p, want) in [
            ("", "", 16, 1, 1, "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"),
            (
                "password",
                "NaCl",
                1024,
                8,
                16,
                "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162",
            ),
        ] {
            let key = Scrypt { n, r, p }.key(passphrase.as_bytes(), salt.as_bytes()).unwrap();
            assert_eq!(key.to_vec(), hex(want), "{passphrase}");
        }
        for (n, r, p) in [(0, 8, 1), (3, 8, 1), (1 << 40, 8, 1), (16, 0, 1), (16, u64::MAX, 1), (16, 1, 0)] {
            assert!(Scrypt { n, r, p }.key(b"", b"").is_none(), "{n} {r} {p}");
        }
    }

    #[test]
    fn poly1305_of_the_rfc() {
        let key = hex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b");
        let tag = poly1305(&key, b"Cryptographic Forum Research Group");
        assert_eq!(tag.to_vec(), hex("a8061dc1305136c6c22b8baf0c0127a9"));
        // RFC 8439, A.3, vectors 7, 8 and 10: sums at the edge of the prime.
        let edge = |r: &str, message: &str| {
            let mut key = hex(r);
            key.resize(32, 0);
            poly1305(&key, &hex(message))[0]
        };
        let ones = "ff".repeat(16);
        assert_eq!(edge("01", &format!("{ones} f0{} 11{}", "ff".repeat(15), "00".repeat(15))), 5);
        assert_eq!(edge("01", &format!("{ones} fb{} {}", "fe".repeat(15), "01".repeat(16))), 0);
        assert_eq!(
            edge(
                "01000000000000000400000000000000",
                "e33594d7505e43b90000000000000000 3394d7505e4379cd0100000000000000
                 00000000000000000000000000000000 01000000000000000000000000000000"
            ),
            0x14
        );
    }

    #[test]
    fn a_box_of_the_nacl_paper() {
        let key: [u8; 32] =
            hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").try_into().unwrap();
        let nonce: [u8; 24] = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").try_into().unwrap();
        let text = hex(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31
             0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde 048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864 5e0705",
        );
        let sealed = hex(
            "f3ffc7703f9400e52a7dfb4b3d3305d9 8e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a c0dfc17c98dce87b4da7f011ec48c972
             71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae 90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3 7973f622a43d14a6599b1f654cb45a74e355a5",
        );
        assert_eq!(open(&key, &nonce, &sealed), Some(text));
        let mut changed = sealed.clone();
        changed[40] ^= 1;
        assert_eq!(open(&key, &nonce, &changed), None);
        assert_eq!(open(&key, &nonce, &sealed[..10]), None);
    }
}
