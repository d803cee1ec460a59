//! Scenario language: YAML to Plan, pure
