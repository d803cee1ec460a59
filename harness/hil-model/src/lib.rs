//! Vocabulary of the harness: identifiers, time, events, actions, capabilities, run records
