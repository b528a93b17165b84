// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/portolan/portolan/profiler"
)

// truthLine is a line of a file of truth. The first one has the configuration and
// the moves, each other one an endpoint and its ports, each as
// [address, protocol, port, role, kind, answers, clients, probes], where the role
// is server, bound or idle.
type truthLine struct {
	Capture  string       `json:"capture"`
	Config   *DayConfig   `json:"config,omitempty"`
	Moves    []moveLine   `json:"moves,omitempty"`
	MAC      profiler.MAC `json:"mac,omitzero"`
	Endpoint string       `json:"endpoint,omitempty"`
	Oneway   string       `json:"one_way,omitempty"`
	Ports    [][8]any     `json:"ports,omitempty"`
}

type moveLine struct {
	DayMove
	From profiler.MAC `json:"from"`
	To   profiler.MAC `json:"to"`
}

// WriteTruth writes the truth of a day that is over, one JSON object a line.
func WriteTruth(w io.Writer, d *Day) error {
	out := json.NewEncoder(w)
	head := truthLine{Capture: "day", Config: &d.cfg}
	for _, m := range d.moves {
		head.Moves = append(head.Moves, moveLine{m, m.From, m.To})
	}
	if err := out.Encode(head); err != nil {
		return err
	}
	list := d.Truth()
	for len(list) > 0 {
		first, n := list[0], 1
		for n < len(list) && list[n].MAC == first.MAC {
			n++
		}
		line := truthLine{Capture: "day", MAC: first.MAC, Endpoint: first.Role, Oneway: first.Oneway}
		for i := range list[:n] {
			t := &list[i]
			role := "server"
			switch {
			case t.Answers == 0:
				role = "idle"
			case t.Kind.Bound():
				role = "bound"
			}
			line.Ports = append(line.Ports, [8]any{t.Addr, profiler.ProtoName(t.Proto), t.Port, role, t.Kind, t.Answers, t.Clients, t.Probes})
		}
		if err := out.Encode(line); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// ReadTruth reads what WriteTruth wrote.
func ReadTruth(r io.Reader) (c DayConfig, list []DayTruth, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<20)
	for number := 1; in.Scan(); number++ {
		var line struct {
			truthLine
			Ports [][]json.RawMessage `json:"ports"`
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return c, nil, fmt.Errorf("line %d: %w", number, err)
		}
		if line.Config != nil {
			c = *line.Config
		}
		for _, p := range line.Ports {
			t, err := readPort(p)
			if err != nil {
				return c, nil, fmt.Errorf("line %d: %w", number, err)
			}
			t.MAC, t.Role, t.Oneway = line.MAC, line.Endpoint, line.Oneway
			list = append(list, t)
		}
	}
	if err := in.Err(); err != nil {
		return c, nil, err
	}
	if c.Endpoints == 0 {
		return c, nil, errors.New("no configuration of a day in its first line")
	}
	return c, list, nil
}

func readPort(p []json.RawMessage) (t DayTruth, err error) {
	var proto, role string
	into := []any{&t.Addr, &proto, &t.Port, &role, &t.Kind, &t.Answers, &t.Clients, &t.Probes}
	if len(p) != len(into) {
		return t, fmt.Errorf("a port has %d fields, want %d", len(p), len(into))
	}
	for i := range p {
		if err := json.Unmarshal(p[i], into[i]); err != nil {
			return t, err
		}
	}
	switch proto {
	case "tcp":
		t.Proto = tcp
	case "udp":
		t.Proto = udp
	default:
		return t, fmt.Errorf("protocol %q is neither tcp nor udp", proto)
	}
	t.Addr = netip.Addr.Unmap(t.Addr)
	return t, nil
}
