//! Gateway logic: firmware distribution, border router, throttle, confirmations
#![no_std]
