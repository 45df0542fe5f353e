//! What proves the `protocol` room: real captures, hand-written vectors, properties.

mod captures;
mod golden;
mod limits;
mod pcap;
mod properties;
