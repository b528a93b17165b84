package bench
import ("testing";"time";"context";"github.com/cilium/ebpf";"github.com/cilium/ebpf/asm";"github.com/cilium/ebpf/link")
func TestTmp(t *testing.T){
	r,err:=NewRig(RigConfig{}); if err!=nil {t.Fatal(err)}
	defer r.Close()
	drop,err:=ebpf.NewProgram(&ebpf.ProgramSpec{Type:ebpf.XDP,License:"MIT",Instructions: asm.Instructions{asm.Mov.Imm(asm.R0,1),asm.Return()}})
	if err!=nil{t.Fatal(err)}
	r.Receiver.NS.Do(func() error { l,err:=link.AttachXDP(link.XDPOptions{Program:drop,Interface:r.Receiver.Ifindex,Flags:link.XDPDriverMode}); if err!=nil{t.Error(err)}; _=l; t.Cleanup(func(){l.Close()}); return err})
	for _,w := range []Workload{{Records:1},Mix()} {
	l,err:=NewLive(r.Live(w,2055)); if err!=nil {t.Fatal(err)}
	for _,ld:=range []Load{{Count:1},{Count:10},{Count:5_000_000,Duration:2*time.Second},{Count:200,Rate:200,Duration:time.Second},{Count:3000000,Rate:1000000,Duration:2*time.Second},{Count:100000,Rate:100000,Duration:2*time.Second},{Count:10000,Rate:10000,Duration:2*time.Second}} {
		b,_:=r.Counters()
		s:=time.Now()
		res,err:=l.Run(context.Background(),ld)
		wall:=time.Since(s)
		a,_:=r.Counters(); d:=a.Since(b)
		t.Logf("%+v: %+v %v rate=%.0f wall=%v lost=%d disc=%d rx=%d tx=%d rxd=%d txd=%d xe=%d", ld,res,err,res.Rate(),wall,d.Lost(),d.Discarded(),d.Receiver.Received,d.Sender.Transmitted,d.Receiver.ReceiveDropped,d.Sender.TransmitDropped,d.Sender.Queues("tx","xdp_xmit_errors"))
	}
	l.Close()
	}
	c,_:=r.Counters(); t.Log(c)
}
