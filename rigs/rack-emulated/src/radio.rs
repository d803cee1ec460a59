//! The gateway's radio co-processor, simulated: it speaks `mk_wire::radio_link` on a tty and is a member of the medium.

use crate::{mailbox::Frame as AirFrame, pty::Pty};
use mk_wire::radio_link::{Decoder, Frame, Pdu, VERSION, WINDOW};
use std::{collections::VecDeque, time::Duration};

/// The co-processor.
#[derive(Debug)]
pub(crate) struct CoProcessor {
    pub tty: Pty,
    decoder: Decoder,
    waiting: VecDeque<(u16, u8, Pdu)>,
    /// When the next transmission may go out.
    free_at: Duration,
    greeted: bool,
    pub refused: u64,
}

impl CoProcessor {
    pub fn new(tty: Pty) -> Self {
        Self {
            tty,
            decoder: Decoder::new(),
            waiting: VecDeque::new(),
            free_at: Duration::ZERO,
            greeted: false,
            refused: 0,
        }
    }

    /// When it has something to do of its own accord.
    pub fn next(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.free_at)
    }

    /// Takes what the host has written, and returns what goes on the air now.
    pub fn turn(&mut self, now: Duration, interval: Duration) -> Vec<AirFrame> {
        self.tty.look();
        self.tty.drain();
        let mut chunk = [0; 1024];
        loop {
            let n = self.tty.read(&mut chunk);
            if n == 0 {
                break;
            }
            for octet in &chunk[..n] {
                if let Some(Ok(frame)) = self.decoder.push(*octet) {
                    self.host_says(frame);
                }
            }
        }
        if !self.greeted {
            self.greeted = true;
            self.hello();
        }
        let mut sent = Vec::new();
        while self.free_at <= now
            && let Some((id, ad_type, pdu)) = self.waiting.pop_front()
        {
            self.free_at = now + interval;
            self.say(&Frame::Sent { id });
            sent.push(AirFrame { ad_type, rssi_dbm: 0, pdu: pdu.to_vec() });
        }
        sent
    }

    fn host_says(&mut self, frame: Frame) {
        match frame {
            Frame::Query => self.hello(),
            Frame::Transmit { id, ad_type, pdu } => {
                if self.waiting.len() < usize::from(WINDOW) {
                    self.waiting.push_back((id, ad_type, pdu));
                } else {
                    self.refused += 1;
                }
            }
            // What a radio says, said to a radio.
            Frame::Hello { .. } | Frame::Sent { .. } | Frame::Received { .. } => {}
        }
    }

    fn hello(&mut self) {
        self.say(&Frame::Hello { version: VERSION, window: WINDOW });
    }

    /// A frame was heard.
    pub fn hear(&mut self, frame: &AirFrame) {
        let Ok(pdu) = Pdu::from_slice(&frame.pdu) else { return };
        self.say(&Frame::Received { ad_type: frame.ad_type, rssi_dbm: frame.rssi_dbm, pdu });
    }

    fn say(&mut self, frame: &Frame) {
        self.tty.write(&frame.encode());
    }
}
