# frozen_string_literal: true

# SPDX-License-Identifier: GPL-2.0-or-later
#
# The domain that vagrant-libvirt would have libvirt create: its own configuration and action, a
# recorder in libvirt's place.  vagrant_domain.rb JSON: options of the provider, "calls" as methods with
# arguments, "with" the path of our plugin or nothing.

require 'json'
require 'vagrant'
require 'vagrant-libvirt'
require 'vagrant-libvirt/config'
require 'vagrant-libvirt/util/byte_number'
require 'vagrant-libvirt/action/create_domain'

given = JSON.parse(ARGV[0])
nodes = ->(value) { value.is_a?(Array) && value[0].is_a?(Hash) ? value.map { |node| node.transform_keys(&:to_sym) } : value }
require given['with'] if given['with']

config = VagrantPlugins::ProviderLibvirt::Config.new
given.fetch('options', {}).each { |name, value| config.public_send("#{name}=", nodes.call(value)) }
given.fetch('calls', []).each do |name, *words, options|
  config.public_send(name, *words, **options.transform_keys(&:to_sym))
end
if given['later']
  later = VagrantPlugins::ProviderLibvirt::Config.new
  given['later'].each { |name, value| later.public_send("#{name}=", value) }
  config = config.merge(later)
end
config.finalize!

# Takes every call that the action makes on the way, and keeps the domain.
class Recorder
  attr_reader :xml

  def create(xml:)
    @xml = xml
    self
  end

  def id
    'x'
  end

  def servers
    self
  end

  # Volumes of the pool, by name: each has a path.
  def volumes
    self
  end

  def all(*)
    [self]
  end

  def pool_name
    'default'
  end

  def connection
    self
  end

  def driver
    self
  end
end

recorder = Recorder.new
box = Struct.new(:box, :vm).new(nil, nil)
box.vm = box
machine = Struct.new(:provider_config, :provider, :id, :config).new(config, recorder, nil, box)
# Everything that is said goes to stderr.
ui = Object.new
def ui.info(text)
  $stderr.puts(text)
end

def ui.warn(text)
  $stderr.puts(text)
end
size = ByteNumber.new(10 * 2**30)
volumes = [{ device: 'vda', bus: config.disk_bus, cache: 'default', pool: 'default', virtual_size: size,
             path: '/pool/box.img', absolute_path: '/pool/box.img' }]
env = { machine: machine, ui: ui, domain_name: 'project_default', root_path: '/project', domain_volumes: volumes }
begin
  VagrantPlugins::ProviderLibvirt::Action::CreateDomain.new(->(_) {}, env).call(env)
rescue Vagrant::Errors::VagrantError => e
  $stderr.puts(e.message)
  exit 1
end
puts recorder.xml
