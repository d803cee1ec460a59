//! Codecs of everything on the wire: mesh DFU, CoAP, images, trace
#![no_std]
