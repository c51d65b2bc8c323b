//go:build race

package text

// The race detector slows the comparisons down four times, and sees in a part of them
// what it would see in all; scripts/test.sh runs all of them without it.
const oneOf = 29
