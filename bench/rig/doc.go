// Package rig is what a benchmark starts clusters with: processes that are ended
// with it, free ports, and proxies on the links between them.
//
// It knows distinfer by its HTTP interface and the health service of its stages,
// and not what is measured.
package rig
