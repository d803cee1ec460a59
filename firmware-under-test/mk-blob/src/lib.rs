//! BLOB transfer server and client state machines (MshMBT 1.0)
#![no_std]
