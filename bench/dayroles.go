// SPDX-License-Identifier: Apache-2.0

//go:build linux

package bench

// role is a kind of endpoint: how many there are, what they run and listen on,
// and what they do.
type role struct {
	name    string
	share   float64 // in a cell of 400; at least one where the share is 1 or more
	network network
	systems []system
	vendors []uint32 // the first three bytes of hardware addresses, 0 for a random one
	// Ports by kind: t80 is TCP port 80, u161 UDP port 161.
	listed, device, agent, rpc, peer string
	live                             func(d *Day, h *host)
}

// network is a part of a cell's addresses, 256 of them.
type network uint8

const (
	netServers network = iota
	netUsers
	netWireless
	netDevices
	networks
)

// Vendors of network cards, as IEEE has registered them.
const (
	macVMware    = 0x005056
	macDell      = 0xf8bc12
	macHP        = 0x3cd92b
	macLenovo    = 0x54e1ad
	macApple     = 0xa483e7
	macIntel     = 0x001b21
	macSamsung   = 0x8cf5a3
	macCisco     = 0x001b54
	macYealink   = 0x805ec0
	macPolycom   = 0x0004f2
	macAxis      = 0xaccc8e
	macHikvision = 0x4419b6
	macSiemens   = 0x001b1b
	macRockwell  = 0x0000bc
	macSchneider = 0x0080f4
	macBrother   = 0x008077
	macCanon     = 0x001e8f
	macXerox     = 0x0000aa
	macPhilips   = 0x0009fb
	macEspressif = 0x240ac4
	macRaspberry = 0xb827eb
	macAruba     = 0x000b86
	macAPC       = 0x00c0b7
	macHoneywell = 0x004084
	macJohnson   = 0x00108d
	macSynology  = 0x001132
	macRandom    = 0
)

var (
	linux    = []system{sysLinux}
	windows  = []system{sysWindows, sysWindows11}
	firmware = []system{sysNone, sysLwIP, sysLinux}
	virtual  = []uint32{macVMware, macDell}
	office   = []uint32{macDell, macHP, macLenovo, macIntel}
)

// roles are all of them. Those of the data centre come first, so that a small
// cell has them; what the last ones leave of a cell are office computers.
var roles = []role{
	{name: "dc", share: 2, systems: windows, vendors: virtual,
		listed: "t53 u53 u67 t88 u88 u123 t135 u137 u138 t139 t389 u389 t445 t464 u464 t636 t3268 t3269 t3389 t5985 t9389",
		rpc:    "t49664 t49665 t49666 t49667 t49668 t49671 t49677 t49690", live: liveDC},
	{name: "files", share: 2, systems: windows, vendors: virtual, listed: "t135 t139 t445 t3389 t5985", rpc: "t49664 t49667 t49669", live: liveServer},
	{name: "mail", share: 1, systems: linux, vendors: virtual, listed: "t22 t25 t143 t443 t587 t993", agent: "t10050", live: liveMail},
	{name: "proxy", share: 1, systems: linux, vendors: virtual, listed: "t22 t3128", agent: "t9100", live: liveServer},
	{name: "web", share: 3, systems: linux, vendors: virtual, listed: "t22 t80 t443", agent: "t9100", live: liveServer},
	{name: "balancer", share: 1, systems: linux, vendors: virtual, listed: "t22 t80 t443 t8404", live: liveBalancer},
	{name: "app", share: 9, systems: linux, vendors: virtual, listed: "t22", agent: "t9100", live: liveApp},
	{name: "mssql", share: 1, systems: windows, vendors: virtual, listed: "t135 t445 t1433 u1434 t3389 t5985", rpc: "t49664 t49668", live: liveServer},
	{name: "postgres", share: 1, systems: linux, vendors: virtual, listed: "t22 t5432", agent: "t9187", live: liveServer},
	{name: "mysql", share: 1, systems: linux, vendors: virtual, listed: "t22 t3306 t33060", agent: "t9104", live: liveServer},
	{name: "oracle", share: 1, systems: linux, vendors: virtual, listed: "t22 t1521 t5500", live: liveServer},
	{name: "stores", share: 2, systems: linux, vendors: virtual, listed: "t22 t6379 t9200 t9300 t9092 t27017 t11211", agent: "t9100", live: liveServer},
	{name: "node", share: 5, systems: linux, vendors: virtual, listed: "t22 t179 t10250 t6443 t2379 t2380 u8472", agent: "t9100 t10256", live: liveNode},
	{name: "gateway", share: 2, systems: []system{sysTranslator}, vendors: []uint32{macCisco}, listed: "t22 t443 u161", live: liveGateway},
	{name: "resolver", share: 1, systems: linux, vendors: virtual, listed: "t22 t53 u53 u123", live: liveResolver},
	{name: "monitor", share: 1, systems: linux, vendors: virtual, listed: "t22 t443 u162 u514 t10051 t3000 t9090", live: liveMonitor},
	{name: "backup", share: 1, systems: linux, vendors: virtual, listed: "t22 t13724 t9102", live: liveBackup},
	{name: "nas", share: 2, systems: linux, vendors: []uint32{macSynology}, listed: "t22 t80 t111 u111 t443 t445 t2049 u2049 t5000 t5001 u161 t20048", live: liveNAS},
	{name: "pbx", share: 1, systems: linux, vendors: virtual, listed: "t22 t443 u5060 t5060 t5061 u69", live: livePBX},
	{name: "print", share: 1, systems: windows, vendors: virtual, listed: "t135 t445 t515 t631 t3389", rpc: "t49664 t49670", live: livePrintServer},
	{name: "ftp", share: 1, systems: linux, vendors: virtual, listed: "t21 t22", live: liveServer},
	{name: "jump", share: 1, systems: linux, vendors: virtual, listed: "t22 t443", live: liveJump},
	{name: "terminal", share: 2, systems: windows, vendors: virtual, listed: "t135 t445 t3389 t1494 t2598", live: liveTerminal},
	{name: "vpn", share: 1, systems: linux, vendors: virtual, listed: "t22 t443 u443 u500 u1194 u4500 u51820", live: liveVPN},
	{name: "scada", share: 1, systems: windows, vendors: virtual, listed: "t135 t445 t3389 t4840", live: liveSCADA},
	{name: "recorder", share: 1, systems: linux, vendors: []uint32{macHikvision}, listed: "t80 t443", device: "t554 t8000 t37777", live: liveRecorder},
	{name: "pacs", share: 1, systems: linux, vendors: virtual, listed: "t22 t443", device: "t104 t11112 t2575", live: livePACS},
	{name: "updates", share: 1, systems: windows, vendors: virtual, listed: "t135 t445 t8530 t8531 t3389", live: liveUpdates},
	{name: "licences", share: 1, systems: linux, vendors: virtual, listed: "t22 t27000", live: liveServer},
	{name: "broker", share: 1, systems: linux, vendors: virtual, listed: "t22 t1883 t8883 t5672", live: liveServer},
	{name: "radius", share: 1, systems: linux, vendors: virtual, listed: "t22 t49 u1812 u1813", live: liveServer},
	{name: "wireless", share: 1, systems: linux, vendors: []uint32{macAruba}, listed: "t22 t443 u161 u5246 u5247", live: liveServer},
	{name: "hypervisor", share: 3, systems: linux, vendors: []uint32{macDell}, listed: "t22 t443 t902 u161", live: liveHypervisor},
	{name: "bsd", share: 1, systems: []system{sysFreeBSD}, vendors: virtual, listed: "t22 t80 t873", live: liveBSD},
	{name: "collector", share: 1, systems: []system{sysNone}, vendors: []uint32{macSiemens}, listed: "t22", live: liveCollector},
	{name: "scanner", share: 1, systems: linux, vendors: virtual, listed: "t22 t8834", live: liveScanner},

	{name: "phone", share: 36, network: netDevices, systems: firmware, vendors: []uint32{macYealink, macPolycom, macCisco}, listed: "t80", peer: "u5060", live: livePhone},
	{name: "printer", share: 20, network: netDevices, systems: firmware, vendors: []uint32{macHP, macBrother, macCanon, macXerox},
		listed: "t80 t443 u161", device: "t515 t631 t9100", peer: "u5353 u1900 u3702", live: livePrinter},
	{name: "camera", share: 16, network: netDevices, systems: firmware, vendors: []uint32{macAxis, macHikvision}, listed: "t80", device: "t554", peer: "u3702 u1900", live: liveCamera},
	{name: "switch", share: 8, network: netDevices, systems: firmware, vendors: []uint32{macCisco}, listed: "t22 u161", live: liveSwitch},
	{name: "accesspoint", share: 6, network: netDevices, systems: linux, vendors: []uint32{macAruba}, listed: "t22 u161", live: liveAccessPoint},
	{name: "plc", share: 9, network: netDevices, systems: firmware, vendors: []uint32{macSiemens, macRockwell, macSchneider}, live: livePLC},
	{name: "panel", share: 2, network: netDevices, systems: []system{sysWindowsXP}, vendors: []uint32{macSiemens}, listed: "t139 t445", device: "t5900", live: livePanel},
	{name: "building", share: 6, network: netDevices, systems: firmware, vendors: []uint32{macHoneywell, macJohnson}, peer: "u47808", live: liveBuilding},
	{name: "modality", share: 4, network: netDevices, systems: []system{sysWindowsXP}, vendors: []uint32{macPhilips}, device: "t104", live: liveModality},
	{name: "ups", share: 3, network: netDevices, systems: firmware, vendors: []uint32{macAPC}, listed: "t80 u161", live: liveSilent},
	{name: "sensor", share: 6, network: netDevices, systems: []system{sysLwIP}, vendors: []uint32{macEspressif}, live: liveSensor},
	{name: "tv", share: 3, network: netWireless, systems: linux, vendors: []uint32{macSamsung}, device: "t8009 t9197", peer: "u5353 u1900", live: liveTV},
	{name: "badge", share: 3, network: netDevices, systems: firmware, vendors: []uint32{macRaspberry}, device: "t4050", live: liveBadge},

	{name: "mobile", share: 44, network: netWireless, systems: []system{sysAndroid, sysIOS}, vendors: []uint32{macRandom}, peer: "u5353", live: liveMobile},
	{name: "mac", share: 24, network: netUsers, systems: []system{sysMacOS}, vendors: []uint32{macApple}, peer: "u5353 u137", live: liveOffice},
	{name: "developer", share: 14, network: netUsers, systems: linux, vendors: office, listed: "t22", peer: "u5353", live: liveDeveloper},
	{name: "player", share: 6, network: netWireless, systems: windows, vendors: []uint32{macIntel}, peer: "u5353 u1900", live: livePlayer},
	{name: "old", share: 3, network: netUsers, systems: []system{sysWindowsXP}, vendors: []uint32{macHP}, listed: "t139 t445", peer: "u137 u138", live: liveOld},
	{name: "office", network: netUsers, systems: windows, vendors: office, listed: "t135 t445", peer: "u137 u138 u5353 u5355 u1900", live: liveOffice},
}
