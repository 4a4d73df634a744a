//! SplitMix64: a seed prints in one word and gives the same case for ever, whatever crates do.

/// A stream of numbers.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `of` times.
    pub fn once(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// The bytes that a seed stands for; seed 0 stands for zeros.
    pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
        if seed == 0 {
            return vec![0; length];
        }
        let mut rng = Self::new(seed);
        let mut bytes: Vec<u8> = (0..length.div_ceil(8))
            .flat_map(|_| rng.next().to_le_bytes())
            .collect();
        bytes.truncate(length);
        bytes
    }
}
