//! Rack files.
