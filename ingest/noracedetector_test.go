// SPDX-License-Identifier: Apache-2.0

//go:build !race

package ingest

// raceDetector tells whether the tests run under it.
const raceDetector = false
