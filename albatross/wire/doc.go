// Package wire is the codec of Albatross's protocol, wire version 5 (Albatross 2.7).
//
// A command travels DER encoded in an X.509 extension of the client's leaf
// certificate ([EncodeExtension], [DecodeExtension]). Replies travel as frames:
// a four byte big-endian length and then one DER value ([EncodeFrame],
// [DecodeFrame]). The package is pure: it opens no connection and keeps no state.
//
// The reference for every encoding is the recorded behaviour of the original
// (testdata/vectors beside this package's parent). Where the original is more
// lenient than DER (times, booleans, duplicate set members) the decoders are too;
// everything else is refused with an error. No input makes a decoder panic,
// recurse or allocate more than a small multiple of the input's length.
package wire
