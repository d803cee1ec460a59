//! One plan on one rack: run loop, ledger, judge
