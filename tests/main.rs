//! All tests of the house in one binary.

mod cpu;
