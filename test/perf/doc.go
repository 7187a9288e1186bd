// Package perf measures what the operator costs and how fast it is. Its benchmarks run the built operator as a process, with a real
// API server and simulated hosts that answer in 20 ms, and compare each figure with the range that rangespec.yaml has for it.
// docs/performance.md says how to run them and lists the figures.
package perf
