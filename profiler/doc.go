// SPDX-License-Identifier: Apache-2.0

// Package profiler is the vocabulary of the product and the rules that are
// stated in it: what an endpoint, a port, an observation and a post are, what
// an observation changes about the port that is already held, and what an
// endpoints file may say.
//
// It owns the rules and nothing else. It opens no file and no socket, starts no
// goroutine, keeps no state and imports only the standard library, so that the
// sensor, the store, the command line and a test can all ask the same function
// and get the same answer. Whoever keeps endpoints (package store) calls
// [Decide]; whoever reads or writes endpoints files calls [ParseCSV] and
// [WriteCSV].
//
// The words: an endpoint is a device in the repository, known by its [MAC], or
// by an IP address where the MAC is unknown. A binding says that an IP address
// belongs to an endpoint; it has a stable id and a generation, which a move of
// the address advances. An [Observation] is one thing learned about a binding;
// a post is the observations of one endpoint in a [Batch]; its [Outcome] is the
// answer. A [Port] is what the endpoint is then said to serve or to use.
package profiler
