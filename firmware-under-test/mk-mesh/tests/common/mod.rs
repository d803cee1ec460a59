//! Keys of the check vectors, and storage in memory.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

pub mod air;

use mk_mesh::{Record, Storage};

pub const N1: [u8; 16] = 0x7dd7_364c_d842_ad18_c17c_2b82_0c84_c3d6_u128.to_be_bytes();
pub const A1: [u8; 16] = 0x6396_4771_734f_bd76_e3b4_0519_d1d9_4a48_u128.to_be_bytes();
pub const D1: [u8; 16] = 0x9d6d_d0e9_6eb2_5dc1_9a40_ed99_14f8_f03f_u128.to_be_bytes();
pub const IV: u32 = 0x1234_5678;

/// The exchange of section 13: an unmodified Zephyr peer pushing 100 octets.
pub struct Recorded {
    pub net_key: [u8; 16],
    pub app_key: [u8; 16],
    pub device_key: [u8; 16],
    pub update_start: &'static str,
    pub update_status: &'static str,
    /// Three segments, their acknowledgement, two segments of the answer.
    pub pdus: [&'static str; 6],
}

pub const RECORDED: Recorded = Recorded {
    net_key: [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    app_key: [4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    device_key: [0xDD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    update_start: "020a0027d6b77bfb52c28a00aabbccdd",
    update_status: "4002000a0027d6b77bfb52c28a00",
    pdus: [
        "0d267eecac2cf1e7e5249e0c344f31f51b5a137df9d29040bf7b7d0271",
        "0d7e4f88694ea145315ee2ab7b304303a92bcdb896628f572011019e8b",
        "0d0912605e8aef66376dc0c0c6186066602c4c",
        "0da154100b3e46777c783071a5e418346f4b8d0d77888563",
        "0d2934720beaa5d03d23bc3a13af158a7b2b846db0a08177fadb4123f6",
        "0d05df9c1783652cf141613163071e56f1d4cf131712944756",
    ],
};

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Storage that keeps everything.
#[derive(Default, Clone, Debug)]
pub struct Memory(pub Vec<Record>);

impl Storage for Memory {
    type Error = core::convert::Infallible;

    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), Self::Error> {
        self.0.iter().for_each(|record| each(*record));
        Ok(())
    }

    fn save(&mut self, record: &Record) -> Result<(), Self::Error> {
        self.0.push(*record);
        Ok(())
    }
}
