//! Emulated rack, the bench half.
