//! The rack port and its conformance suite
