package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
)

// imageOptions say what image to make.
type imageOptions struct {
	networks, blocks []string
	target, program  string
	size             int
	output           string
}

func newImageCommand() *cobra.Command {
	var o imageOptions
	command := &cobra.Command{
		Use:   "image -o FILE",
		Short: "Make a minimal Solo5 image for a simulated host",
		Long: `Makes a minimal Solo5 image with the given devices in its manifest. A simulated
host runs it; a real one refuses to, as it has no code.`,
		Example: "  albatross-sim image --net service --block storage -o web.hvt",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := o.make()
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "%s: %d bytes\n", o.output, n)
			}
			return err
		},
	}
	flags := command.Flags()
	flags.StringSliceVar(&o.networks, "net", nil, "network device; may be repeated")
	flags.StringSliceVar(&o.blocks, "block", nil, "block device; may be repeated")
	flags.StringVar(&o.target, "target", "hvt", "tender: hvt or spt")
	flags.StringVar(&o.program, "program", "hello", `what to pretend: "test_tick" prints a line each second, "test_net" says that it answers ping`)
	flags.IntVar(&o.size, "size", 0, "size of the image in bytes, at least")
	flags.StringVarP(&o.output, "output", "o", "", "file to write (required)")
	if err := command.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag was defined above
	}
	return command
}

// make writes the image and gives its size.
func (o *imageOptions) make() (int, error) {
	targets := map[string]solo5.Target{"hvt": solo5.HVT, "spt": solo5.SPT}
	target, ok := targets[o.target]
	if !ok {
		return 0, fmt.Errorf("no target %q: it is hvt or spt", o.target)
	}
	notes := solo5.Image{Target: target, ABIVersion: 2}
	for _, name := range o.networks {
		notes.Devices = append(notes.Devices, solo5.Device{Name: name, Type: solo5.Network})
	}
	for _, name := range o.blocks {
		notes.Devices = append(notes.Devices, solo5.Device{Name: name, Type: solo5.Block})
	}
	image, err := albatrosstest.StandIn(o.program, notes, o.size)
	if err != nil {
		return 0, err
	}
	return len(image), os.WriteFile(o.output, image, 0o644)
}
