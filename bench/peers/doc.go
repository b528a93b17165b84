// SPDX-License-Identifier: Apache-2.0

// Package peers measures Portolan beside other collectors on the same packets in
// the same run. It is a module of its own, so that no peer is ever a dependency
// of the product.
//
// BenchmarkDecode sets the decoding of an export packet into flow.Record beside
// goflow2's decoding of it into its protobuf messages, which are the same step
// in both: bytes in, one fixed shape for every format out, nothing sent on.
// TestSameRecords holds that both find the same flows in these packets.
//
//	for i in 1 2 3 4 5 6; do go test -run '^$' -bench . -cpu 1; done | tee new.txt
//	benchstat -col /by new.txt
//
// Runs one after the other, and not -count 6, let what else the machine does
// fall on both. A garbage collector at work on a second core is not in the time
// of a run but costs that core all the same; -cpu 1 keeps it inside.
package peers
