"""5G NR uplink: MCS and transport block sizes, slots, block error rates, HARQ, and a link made of them."""
