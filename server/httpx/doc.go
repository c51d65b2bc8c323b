// Package httpx is what HTTP handlers share: which methods a route has, the error document,
// bodies within bounds and without their content coding, compressed responses, what a client
// accepts, and writing JSON. So every route treats these alike.
//
// It knows HTTP, error codes and the limiter. It must not know models, texts or tensors, what
// a route answers, or who computes that.
package httpx
