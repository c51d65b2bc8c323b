//go:build !race

package text

const oneOf = 1
