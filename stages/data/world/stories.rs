//! stub
/// x
pub struct Stories(u64, u64);
impl Stories {
    /// x
    pub fn starting_at(seed: u64, first: u64) -> Stories { Stories(seed, first) }
}
impl Iterator for Stories { type Item = String; fn next(&mut self) -> Option<String> { self.1 += 1; Some(format!("Story {} of {}. The rose is red. The tulip is blue. The sun is up.", self.1, self.0)) } }
