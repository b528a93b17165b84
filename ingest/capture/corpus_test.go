// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzOpen reads any content to its end: no panic, no endless reading, nothing
// handed out beyond what the file holds. The seeds are one file per kind.
func FuzzOpen(f *testing.F) {
	frame := ethernet(udpIn(f, router4, sensor4, hello), typeVLAN)
	pieces := fragment6(udpIn(f, router6, sensor6, longPayload(300)), 104, 1)
	f.Add(pcapOf(f, 1, frame, frame))                                         // pcap, Ethernet
	f.Add(pcapOf(f, 101, pieces...))                                          // pcap, raw IP, fragments
	f.Add(pcapngOf(f, ngPacket{1, frame}, ngPacket{101, pieces[0]}))          // pcapng, two interfaces
	f.Add(append(ipfixMessage(16, 0), ipfixMessage(40, 1)...))                // IPFIX messages
	f.Add([]byte{0, 5, 0, 0})                                                 // one payload
	f.Add([]byte{0x1f, 0x8b, 8, 0})                                           // compressed
	f.Add(pcapOf(f, 101, fragment4(udpIn(f, router4, sensor4, hello), 8)...)) // IPv4 fragments
	f.Fuzz(func(t *testing.T, content []byte) {
		from, err := recognise(bytes.NewReader(content))
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTruncated) {
				t.Fatal(err)
			}
			return
		}
		sum := 0
		for n := 0; ; n++ {
			var d Datagram
			if err := from.next(&d); err != nil {
				if err != io.EOF && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTruncated) {
					t.Fatal(err)
				}
				break
			}
			// Each takes bytes of the file: a payload its own, an empty one
			// the headers around it.
			sum += len(d.Payload)
			if sum > len(content) || n > len(content)/16+1 || d.Missing < 0 || d.Raw == d.Source.IsValid() {
				t.Fatalf("datagram %d of %d bytes, %d in all, of a file of %d", n, len(d.Payload), sum, len(content))
			}
		}
	})
}

// TestCorpus reads a folder of captures of many products, where there is one:
// PORTOLAN_CORPUS names a folder with captures/ in it.
func TestCorpus(t *testing.T) {
	root := os.Getenv("PORTOLAN_CORPUS")
	if root == "" {
		t.Skip("needs PORTOLAN_CORPUS: a folder of captures to read")
	}
	files, datagrams := 0, 0
	err := filepath.WalkDir(filepath.Join(root, "captures"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if strings.HasSuffix(path, ".md") || strings.HasSuffix(path, ".tsv") {
			return nil // about the captures
		}
		r, err := Open(path)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer r.Close()
		got, err := all(t, r.Next)
		if err != io.EOF {
			t.Error(err)
		}
		if len(got) == 0 {
			t.Logf("%s holds no UDP datagram", path)
		}
		files++
		datagrams += len(got)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatalf("no captures in %s", root)
	}
	t.Logf("%d files, %d datagrams", files, datagrams)
}
