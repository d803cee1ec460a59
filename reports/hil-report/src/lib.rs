//! Report formats: JUnit, HTML, JSON Lines, evidence bundle
