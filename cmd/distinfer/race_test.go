//go:build race

package main_test

// The processes under test are built like the test itself.
const raceFlag = "-race=true"
