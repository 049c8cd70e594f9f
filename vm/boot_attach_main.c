/* usbpush-boot-attach: the oneshot unit at the VM's boot. */

#include "boot_attach.h"

int main(int argc, char **argv)
{
	return boot_attach_main(argc, argv);
}
