//! From what a rack sees of the product to the facts of a ledger.
//!
//! A simulated building, an emulated bench and a lab see the same journals, messages and flash octets; what they make of
//! them is written once, here. Nothing is judged, only read and renamed: no module knows what the product should have
//! done, reads a clock or opens anything.
//!
//! | module | for |
//! | --- | --- |
//! | [`words`] | firmware's words in the harness's vocabulary |
//! | [`message`] | what a message on the air is |
//! | [`interposer`] | rules that act on messages, and their proofs |
//! | [`meter`] | air use of a distributor |
//! | [`air`] | those rules on real network PDUs |
//! | [`banks`] | what the examiner finds in a bank |
//! | [`gateway`] | a gateway's journal as facts |
//! | [`campaign`] | a campaign's journal as facts, and its order the other way |

pub mod air;
pub mod banks;
pub mod campaign;
pub mod gateway;
pub mod interposer;
pub mod message;
pub mod meter;
pub mod words;
