#!/bin/sh
# The alternative that a person writes who has no usbpush: for each serial adapter that is plugged in, bind it and let the VM attach it, by ssh. (A udev rule
# may not use the network: so a monitor.) Runs on the Pi.
echo ready
udevadm monitor --kernel --property --subsystem-match=usb/usb_device | while read -r line; do
	case "$line" in
	ACTION=*) action=${line#ACTION=} ;;
	DEVPATH=*) busid=${line##*/} ;;
	PRODUCT=403/6001/*) is_ours=yes ;;
	"")
		if [ "$action" = bind ] && [ "$is_ours" = yes ]; then
			usbip bind -b "$busid" &&
				ssh -i /root/.ssh/bench -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@vm \
					"usbip attach -r pi -b $busid" </dev/null
		fi
		action='' busid='' is_ours=''
		;;
	esac
done
