//! The seams of a stage: what it trains on ([`Data`]), by which objective ([`Loss`]), and for how long ([`Stage`]).
