//! Policy objectives: what a completion was worth, and how far one minibatch may move the policy towards it.

pub mod group;
pub mod ppo;
pub mod round;
