//! Supervision on toy actors.
