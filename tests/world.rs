//! The little world: its stories parse in its own grammar, its facts can be checked.
