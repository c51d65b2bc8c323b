// Package transfer moves the files of a bundle from a machine that has them to one
// that needs them, so that the model has to be on one machine only.
//
// Server and fetcher are the two sides of transferpb/transfer.proto. A file is asked for
// by its hash, from the byte on that the fetcher does not have yet; the fetcher
// goes from peer to peer and trusts none: sizes and hashes are those of the
// manifest, and only a file whose hash is right is put in its place.
//
// The package knows bundles and gRPC. It must not know stages, what a bundle is
// used for, or settings.
package transfer
