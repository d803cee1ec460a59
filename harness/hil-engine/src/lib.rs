//! One plan on one rack: the run loop, the ledger, the oracle and the judge.
//!
//! A verdict is a pure function of plan and ledger: [`judge()`] needs no rack, so a recorded run is judged again in the
//! same way. This crate names no concrete rack, opens no file, no socket, and reads no clock.

pub mod judge;
pub mod ledger;
pub mod oracle;
pub mod run;
pub mod schedule;

pub use judge::{Judge, Judgement, judge, judge_outcome, record};
pub use ledger::{Ledger, LedgerError, ReadLedger};
pub use oracle::Oracle;
pub use run::{Course, Ended, Outcome, run, run_plan};
