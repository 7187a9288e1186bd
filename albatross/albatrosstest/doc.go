// Package albatrosstest is a simulated Albatross host for tests, samples and
// demonstrations.
//
// A [Host] speaks the real protocol over real TLS and behaves as the recorded
// original does (behaviour.json of the recorded vectors): it verifies chains of
// certificates, applies the policies in them, checks images against their
// Solo5 manifests, keeps block devices in sparse files, restarts unikernels by
// their fail behaviour, keeps consoles and sends statistics. Its unikernels are
// simulated: what they print and when they exit is chosen by their arguments
// (see [Options]). It can be told to fail in many ways (see [Fault]).
//
// One thing differs in kind: certificates that have more than 256 KiB together
// are refused by crypto/tls, where the original takes 16 MiB. So large images
// must be streamed, as the client of this project does anyway.
//
// What breaks or blocks the original for everybody is left out unless
// [Options.Quirks] asks for it.
package albatrosstest
