// Stands in for the toolkit's header: emulator.h, included before every kernel source, has the type and its functions.
