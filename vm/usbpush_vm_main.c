/* usbpush-vm: the VM's command line. */

#include "vm_cli.h"

int main(int argc, char **argv)
{
	return vm_cli_main(argc, argv);
}
