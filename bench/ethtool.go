// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ethtool ioctls of linux/ethtool.h that veth needs. They act on the calling
// thread's network namespace.
const (
	ethtoolSetGRO   = 0x2c // struct ethtool_value
	ethtoolStrings  = 0x1b // struct ethtool_gstrings
	ethtoolStats    = 0x1d // struct ethtool_stats
	ethtoolDrvInfo  = 0x03 // struct ethtool_drvinfo
	stringSetStats  = 1    // ETH_SS_STATS
	stringSize      = 32   // ETH_GSTRING_LEN
	drvInfoSize     = 196
	drvInfoNStats   = 180 // offset of n_stats
	stringsHeader   = 12  // cmd, string_set, len
	statsHeader     = 8   // cmd, n_stats
	interfaceLength = unix.IFNAMSIZ
)

// ifreq is struct ifreq with a pointer for its union, padded to the union's size.
type ifreq struct {
	name [interfaceLength]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtool makes one request; the answer replaces it.
func ethtool(device string, request []byte) error {
	if len(device) >= interfaceLength {
		return fmt.Errorf("device name %q is too long", device)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r := ifreq{data: unsafe.Pointer(&request[0])}
	copy(r.name[:], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return errno
	}
	return nil
}

// receiveOffload turns generic receive offload on or off.
func receiveOffload(device string, on bool) error {
	ne := binary.NativeEndian
	request := ne.AppendUint32(nil, ethtoolSetGRO)
	var value uint32
	if on {
		value = 1
	}
	if err := ethtool(device, ne.AppendUint32(request, value)); err != nil {
		return fmt.Errorf("set generic receive offload of %s: %w", device, err)
	}
	return nil
}

// driverCounters reads what ethtool -S shows.
func driverCounters(device string) (map[string]uint64, error) {
	ne := binary.NativeEndian
	info := make([]byte, drvInfoSize)
	ne.PutUint32(info, ethtoolDrvInfo)
	if err := ethtool(device, info); err != nil {
		return nil, fmt.Errorf("ask the driver of %s: %w", device, err)
	}
	n := int(ne.Uint32(info[drvInfoNStats:]))

	names := make([]byte, stringsHeader+n*stringSize)
	ne.PutUint32(names, ethtoolStrings)
	ne.PutUint32(names[4:], stringSetStats)
	ne.PutUint32(names[8:], uint32(n))
	values := make([]byte, statsHeader+n*8)
	ne.PutUint32(values, ethtoolStats)
	ne.PutUint32(values[4:], uint32(n))
	for _, request := range [][]byte{names, values} {
		if err := ethtool(device, request); err != nil {
			return nil, fmt.Errorf("ask the driver of %s for its counters: %w", device, err)
		}
	}
	counters := make(map[string]uint64, n)
	for i := range n {
		name, _, _ := bytes.Cut(names[stringsHeader+i*stringSize:][:stringSize], []byte{0})
		counters[string(name)] = ne.Uint64(values[statsHeader+i*8:])
	}
	return counters, nil
}
