"""The interfaces to the outside world. Protocols and plain values only; every one has an implementation in
``adapters.memory`` that is both the single-node product and the test double."""
