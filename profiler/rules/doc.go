// SPDX-License-Identifier: Apache-2.0

// Package rules tells what device an endpoint is. Fingerprints are data: YAML
// files with conditions over the ports that an endpoint serves and uses, the
// vendor of its network card, its host name and its operating system. A
// dictionary is built in, files of a folder extend and override it. The schema
// is in docs/fingerprints.md.
//
// [Load] reads rules into a [Set], which never changes: to reload, load a new
// one and swap the pointer; on an error the old one stays. [Set.Match] is a pure
// function of an endpoint: the best match by reliability, then score, then the
// number of demands, then id, so that equal endpoints get equal answers on every
// machine. Only ports whose evidence is trusted count (see [Trusted]).
//
// A match tells of one moment. [Accepted] is what is believed over time: a
// device of another category has to hold for an hour before it replaces one that
// was well known, and two that contradict each other for that long are a
// conflict. [Vendors] names the vendor of a MAC address.
//
// The package reads the files that it is told to read and does nothing else: it
// starts no goroutine and keeps no state.
package rules
