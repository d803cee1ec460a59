//! Bootloader logic: decide, journal, copy-install engine, confirm and roll back
#![no_std]
