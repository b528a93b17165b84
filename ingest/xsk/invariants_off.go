// SPDX-License-Identifier: Apache-2.0

//go:build linux && !invariants

package xsk

// invariants switches on checks that cost too much for production.
const invariants = false

func mangle([]byte) {}
