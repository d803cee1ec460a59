//! MK-NODE application logic: update server, CoAP fetch, first boot, config store
#![no_std]
